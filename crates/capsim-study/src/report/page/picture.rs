//! Any of the drawings on a page.
use super::super::bars::Bars;
use super::super::chart::Chart;

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// Over two axes.
    Chart(Chart),
    /// Parts of a whole.
    Bars(Bars),
}

impl From<Chart> for Picture {
    fn from(chart: Chart) -> Self {
        Self::Chart(chart)
    }
}

impl From<Bars> for Picture {
    fn from(bars: Bars) -> Self {
        Self::Bars(bars)
    }
}

impl Picture {
    /// What it shows.
    pub fn title(&self) -> &str {
        match self {
            Self::Chart(c) => &c.title,
            Self::Bars(b) => &b.title,
        }
    }

    /// Names of the series or parts, where colours need them.
    pub fn legend(&self) -> Vec<&str> {
        match self {
            Self::Chart(c) => c.legend(),
            Self::Bars(b) => b.legend(),
        }
    }

    /// The drawing, for a page that defines the colours; `None` if there is nothing to draw.
    pub fn svg(&self) -> Option<String> {
        match self {
            Self::Chart(c) => c.svg(),
            Self::Bars(b) => b.svg(),
        }
    }

    /// The drawing as a file of its own.
    pub fn file(&self) -> Option<String> {
        match self {
            Self::Chart(c) => c.file(),
            Self::Bars(b) => b.file(),
        }
    }
}

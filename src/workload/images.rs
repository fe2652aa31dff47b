//! Images of a load: as many in each request, all of one size.
use serde::{Deserialize, Serialize};

/// Most images of a request, and most pixels of a side.
const MOST: u32 = 1000;
const MOST_PIXELS: u32 = 1 << 16;

/// The images of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// How many.
    pub count: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What each becomes by the model's own rule; zeros until the model is known.
    #[serde(default)]
    pub each: ImageCost,
}

/// What an image is to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageCost {
    /// Prompt tokens.
    pub tokens: u32,
    /// Those of them that hold what the vision tower saw.
    pub embeds: u32,
    /// Patches that the tower computes.
    pub patches: u32,
    /// Pieces of it that attend apart from each other.
    pub tiles: u32,
}

impl Images {
    /// Reads `COUNTxWIDTHxHEIGHT`.
    ///
    /// # Errors
    /// Another form, or numbers out of range.
    ///
    /// ```
    /// use capsim::workload::Images;
    /// let i = Images::parse("2x1024x768").unwrap();
    /// assert_eq!((i.count, i.width, i.height), (2, 1024, 768));
    /// assert!(Images::parse("1024x768").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            "must be COUNTxWIDTHxHEIGHT: images per request and their size in pixels, such as 1x1024x1024"
                .to_owned()
        };
        let numbers: Option<Vec<u32>> = text
            .split(['x', 'X', '×'])
            .map(|n| n.trim().parse().ok())
            .collect();
        let Some(&[count, width, height]) = numbers.as_deref() else {
            return Err(form());
        };
        let sides = 1..=MOST_PIXELS;
        if !(1..=MOST).contains(&count) || !sides.contains(&width) || !sides.contains(&height) {
            return Err(format!(
                "must have 1 to {MOST} images with sides of 1 to {MOST_PIXELS} pixels"
            ));
        }
        Ok(Self {
            count,
            width,
            height,
            each: ImageCost::default(),
        })
    }

    /// Prompt tokens of all of them.
    pub fn tokens(&self) -> u32 {
        self.count.saturating_mul(self.each.tokens)
    }
}

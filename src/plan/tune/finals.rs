//! The last settings, compared at full length.
use super::draw::{Choice, changed};
use super::front::pareto;
use super::tuner::{Figures, Tuner, better, clearly_better, top};
use super::{Neighbours, Objective, Outcome, neighbours};
use crate::plan::Pool;
use crate::predict::PredictError;

/// Rounds of turning every knob of the best alone.
const ROUNDS: usize = 4;

/// Settings at full length and over all seeds, each with the engine that it comes to.
pub struct Finals {
    pub settings: Vec<(Choice, String)>,
    /// Of each setting, at each level.
    pub figures: Vec<Vec<Figures>>,
}

impl Finals {
    /// The best of all; of equals, that which changes least. `None` of none.
    pub fn best(&self) -> Option<usize> {
        let (settings, figures) = (&self.settings, &self.figures);
        (0..settings.len()).max_by(|&a, &b| {
            better(top(&figures[a]).1, top(&figures[b]).1)
                .then_with(|| changed(&settings[b].0).cmp(&changed(&settings[a].0)))
                .then(b.cmp(&a))
        })
    }

    /// Turns single knobs of the best as long as that makes it better; the settings found on the way join the others.
    pub fn climb<P: Pool>(
        &mut self,
        t: &mut Tuner<'_, P>,
        mut best: usize,
    ) -> Result<usize, PredictError> {
        for _ in 0..ROUNDS {
            let Neighbours { fresh, figures, .. } = neighbours(t, &self.settings[best].0)?;
            let base_score = top(&self.figures[best]).1;
            let next = (0..fresh.len())
                .max_by(|&a, &b| better(top(&figures[a]).1, top(&figures[b]).1).then(b.cmp(&a)));
            match next {
                // More than rounding: else two equal settings would take turns.
                Some(i) if clearly_better(top(&figures[i]).1, base_score) => {
                    self.settings.push(fresh[i].clone());
                    self.figures.push(figures[i].clone());
                    best = self.settings.len() - 1;
                }
                _ => break,
            }
        }
        Ok(best)
    }

    /// Of what meets the SLO, settings and levels that no other beats in both throughput and speed per user.
    pub fn front<P: Pool>(&self, t: &Tuner<'_, P>, objective: Objective) -> Vec<Outcome> {
        let levels = t.levels();
        let mut candidates: Vec<(usize, usize)> = vec![];
        for (i, per_level) in self.figures.iter().enumerate() {
            for (l, f) in per_level.iter().enumerate() {
                if f.met && f.interactivity.is_finite() {
                    candidates.push((i, l));
                }
            }
        }
        let figures = |&(i, l): &(usize, usize)| &self.figures[i][l];
        let points: Vec<(f64, f64)> = candidates
            .iter()
            .map(figures)
            .map(|f| (f.worth(objective), f.interactivity))
            .collect();
        pareto(&points)
            .into_iter()
            .map(|k| candidates[k])
            .map(|(i, l)| t.outcome(&self.settings[i].0, levels[l], &self.figures[i][l]))
            .collect()
    }
}

//! How many tokens an image becomes, by each family's own processor (transformers 5.19.0, `models/*/image_processing_*.py` and
//! `processing_*.py`; InternVL: vLLM 0.32.0, `transformers_utils/processors/internvl.py`).
use serde::{Deserialize, Serialize};

/// An image's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Image {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// What an image becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageTokens {
    /// Prompt tokens, those that mark its beginning, its rows and its end included.
    pub tokens: u32,
    /// Tokens that hold what the tower saw.
    pub embeds: u32,
    /// Patches that the tower computes.
    pub patches: u32,
    /// Pieces that attend apart from each other.
    pub tiles: u32,
}

/// How a family cuts images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum TokenRule {
    /// Sides rounded to multiples of patch × merge within a range of pixels (`smart_resize` of Qwen2-VL), and a token before and behind.
    Pixels {
        patch: u32,
        merge: u32,
        least: u64,
        most: u64,
    },
    /// Always the same size (Gemma 3).
    Fixed {
        patches: u32,
        embeds: u32,
        around: u32,
    },
    /// As large as a budget of tokens allows, in the image's own shape (Gemma 4).
    Budget { patch: u32, pool: u32, most: u32 },
    /// The longest edge bounded; a token behind each row (Pixtral, Mistral 3).
    Rows { patch: u32, merge: u32, edge: u32 },
    /// Square tiles on the canvas that fits best, and the whole image as one more (Llama 4).
    Canvas {
        side: u32,
        patches: u32,
        embeds: u32,
        most: u32,
    },
    /// Square tiles in the nearest of all shapes, and the whole image as one more (InternVL).
    Shapes {
        side: u32,
        patches: u32,
        embeds: u32,
        most: u32,
    },
}

/// Larger sides than any image has.
const MAX_SIDE: u32 = 1 << 16;

impl TokenRule {
    pub(super) fn tokens(&self, image: Image) -> Result<ImageTokens, String> {
        let Image { width, height } = image;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(format!(
                "an image of {width} × {height} pixels: each side must lie between 1 and {MAX_SIDE}"
            ));
        }
        let counted = |patches: u32, embeds: u32, tokens: u32, tiles: u32| ImageTokens {
            tokens,
            embeds,
            patches,
            tiles,
        };
        Ok(match *self {
            TokenRule::Pixels {
                patch,
                merge,
                least,
                most,
            } => {
                let (h, w) = smart_resize(height, width, patch * merge, least, most)?;
                let patches = (h / patch) * (w / patch);
                let embeds = patches / (merge * merge);
                // `<|vision_start|>` and `<|vision_end|>` stand in the chat template.
                counted(patches, embeds, embeds + 2, 1)
            }
            TokenRule::Fixed {
                patches,
                embeds,
                around,
            } => counted(patches, embeds, embeds + around, 1),
            TokenRule::Budget { patch, pool, most } => {
                let (h, w) = within_budget(height, width, patch, pool, most);
                let embeds = h * w;
                counted(embeds * pool * pool, embeds, embeds + 2, 1)
            }
            TokenRule::Rows { patch, merge, edge } => {
                let ratio = f64::from(width.max(height)) / f64::from(edge);
                let bounded = |side: u32| match ratio > 1.0 {
                    true => (libm::floor(f64::from(side) / ratio) as u32).max(1),
                    false => side,
                };
                let unit = patch * merge;
                let (rows, columns) = (
                    bounded(height).div_ceil(unit),
                    bounded(width).div_ceil(unit),
                );
                let embeds = rows * columns;
                counted(embeds * merge * merge, embeds, embeds + rows, 1)
            }
            TokenRule::Canvas {
                side,
                patches,
                embeds,
                most,
            } => {
                let (h, w) = canvas(height, width, side, most);
                let cut = if h * w > 1 { h * w } else { 0 };
                let tiles = cut + 1;
                // A separator between the tiles of a row, one behind each row; the whole image's mark; one before and one behind all.
                let marks = if cut > 0 { h * (w - 1) + h } else { 0 };
                counted(
                    tiles * patches,
                    tiles * embeds,
                    tiles * embeds + marks + 3,
                    tiles,
                )
            }
            TokenRule::Shapes {
                side,
                patches,
                embeds,
                most,
            } => {
                let n = shape(height, width, side, most);
                let tiles = if n > 1 { n + 1 } else { 1 };
                counted(tiles * patches, tiles * embeds, tiles * embeds + 2, tiles)
            }
        })
    }

    pub(super) fn largest(&self) -> ImageTokens {
        let square = |pixels: u64| {
            let side = libm::sqrt(pixels as f64) as u32;
            Image {
                width: side,
                height: side,
            }
        };
        let image = match *self {
            TokenRule::Pixels { most, .. } => square(most),
            TokenRule::Rows { edge, .. } => square(u64::from(edge) * u64::from(edge)),
            TokenRule::Fixed { .. } | TokenRule::Budget { .. } => square(1 << 20),
            TokenRule::Canvas { side, most, .. } | TokenRule::Shapes { side, most, .. } => Image {
                width: side * most,
                height: side,
            },
        };
        self.tokens(image).unwrap_or_default()
    }
}

/// Multiples of `factor` near the image's sides, within a range of pixels. Python's `round` takes the even neighbour of a half.
fn smart_resize(
    height: u32,
    width: u32,
    factor: u32,
    least: u64,
    most: u64,
) -> Result<(u32, u32), String> {
    let (h, w, f) = (f64::from(height), f64::from(width), f64::from(factor));
    if h.max(w) / h.min(w) > 200.0 {
        return Err(format!(
            "an image of {width} × {height} pixels: its sides must not differ by more than a factor of 200"
        ));
    }
    let near = |side: f64| (libm::rint(side / f) * f).max(f);
    let (mut a, mut b) = (near(h), near(w));
    if a * b > most as f64 {
        let beta = libm::sqrt(h * w / most as f64);
        let down = |side: f64| (libm::floor(side / beta / f) * f).max(f);
        (a, b) = (down(h), down(w));
    } else if a * b < least as f64 {
        let beta = libm::sqrt(least as f64 / (h * w));
        let up = |side: f64| libm::ceil(side * beta / f) * f;
        (a, b) = (up(h), up(w));
    }
    Ok((a as u32, b as u32))
}

/// Rows and columns of tokens: the largest image of this shape with at most so many (`get_aspect_ratio_preserving_size`).
fn within_budget(height: u32, width: u32, patch: u32, pool: u32, most: u32) -> (u32, u32) {
    let unit = f64::from(patch * pool);
    let pixels = f64::from(most) * unit * unit;
    let (h, w) = (f64::from(height), f64::from(width));
    let factor = libm::sqrt(pixels / (h * w));
    let rows = libm::floor(factor * h / unit) as u32;
    let columns = libm::floor(factor * w / unit) as u32;
    match (rows, columns) {
        (0, _) => (1, (width / height).clamp(1, most)),
        (_, 0) => ((height / width).clamp(1, most), 1),
        found => found,
    }
}

/// Rows and columns of tiles (`find_supported_resolutions` and `get_best_fit`): the canvas that needs the least enlargement, else the
/// least reduction, and of several the smallest.
fn canvas(height: u32, width: u32, side: u32, most: u32) -> (u32, u32) {
    let (h, w) = (f64::from(height), f64::from(width));
    let mut best: Option<(bool, f64, u32, (u32, u32))> = None;
    for rows in 1..=most {
        for columns in 1..=most / rows {
            let scale = (f64::from(rows * side) / h).min(f64::from(columns * side) / w);
            let grows = scale >= 1.0;
            let area = rows * columns;
            let better = match best {
                None => true,
                Some((known_grows, known, known_area, _)) => match (grows, known_grows) {
                    (true, false) => true,
                    (false, true) => false,
                    _ if scale == known => area < known_area,
                    (true, true) => scale < known,
                    (false, false) => scale > known,
                },
            };
            if better {
                best = Some((grows, scale, area, (rows, columns)));
            }
        }
    }
    best.map_or((1, 1), |(.., shape)| shape)
}

/// Number of tiles (`find_closest_aspect_ratio`): the shape whose ratio is nearest, and of equal ones a larger if the image fills half
/// of it. Shapes are tried by their number of tiles.
fn shape(height: u32, width: u32, side: u32, most: u32) -> u32 {
    let ratio = f64::from(width) / f64::from(height);
    let area = f64::from(width) * f64::from(height);
    let (mut nearest, mut found) = (f64::INFINITY, 1);
    for n in 1..=most {
        for columns in (1..=n).filter(|c| n % c == 0) {
            let rows = n / columns;
            let off = libm::fabs(ratio - f64::from(columns) / f64::from(rows));
            let filled = area > 0.5 * f64::from(side) * f64::from(side) * f64::from(n);
            if off < nearest || (off == nearest && filled) {
                (nearest, found) = (off, n);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const QWEN3: TokenRule = TokenRule::Pixels {
        patch: 16,
        merge: 2,
        least: 65_536,
        most: 16_777_216,
    };

    fn tokens(rule: TokenRule, width: u32, height: u32) -> u32 {
        rule.tokens(Image { width, height }).unwrap().embeds
    }

    #[test]
    fn images_become_as_many_tokens_as_the_processors_make() {
        // Sides to the nearest multiple of 32; a pixel count below the least is raised to it.
        assert_eq!(tokens(QWEN3, 1024, 1024), 1024);
        assert_eq!(tokens(QWEN3, 1920, 1080), 60 * 34);
        assert_eq!(tokens(QWEN3, 10, 10), 64);
        // 28-pixel tokens, at most 16 384 of them.
        let qwen2 = TokenRule::Pixels {
            patch: 14,
            merge: 2,
            least: 3136,
            most: 12_845_056,
        };
        assert_eq!(tokens(qwen2, 1024, 1024), 37 * 37);
        assert!(tokens(qwen2, 9000, 9000) <= 16_384);
        // Gemma 4: 2520 patches of 16 pixels in the image's shape, pooled by 3.
        let gemma = TokenRule::Budget {
            patch: 16,
            pool: 3,
            most: 280,
        };
        assert_eq!(tokens(gemma, 1024, 1024), 16 * 16);
        assert_eq!(tokens(gemma, 1920, 1080), 22 * 12);
        // Pixtral: 1024 × 1024 in patches of 16 without merging, and a token behind each row.
        let pixtral = TokenRule::Rows {
            patch: 16,
            merge: 1,
            edge: 1024,
        };
        let p = pixtral
            .tokens(Image {
                width: 2048,
                height: 1024,
            })
            .unwrap();
        assert_eq!((p.embeds, p.tokens), (64 * 32, 64 * 32 + 32));
        // Llama 4: 1024 × 1024 on a canvas of 4 × 4 tiles of 336 pixels, and the whole.
        let llama = TokenRule::Canvas {
            side: 336,
            patches: 576,
            embeds: 144,
            most: 16,
        };
        let l = llama
            .tokens(Image {
                width: 1024,
                height: 1024,
            })
            .unwrap();
        assert_eq!((l.tiles, l.embeds), (17, 17 * 144));
        let one = llama
            .tokens(Image {
                width: 300,
                height: 300,
            })
            .unwrap();
        assert_eq!((one.tiles, one.tokens), (1, 144 + 3));
    }

    #[test]
    fn a_shape_that_no_processor_takes_is_refused() {
        for (width, height) in [(0, 5), (5, 0), (1 << 17, 5), (4000, 10)] {
            assert!(QWEN3.tokens(Image { width, height }).is_err());
        }
    }

    #[test]
    fn no_image_has_more_tokens_than_the_largest() {
        let rules = [
            QWEN3,
            TokenRule::Budget {
                patch: 16,
                pool: 3,
                most: 280,
            },
            TokenRule::Rows {
                patch: 14,
                merge: 2,
                edge: 1540,
            },
            TokenRule::Canvas {
                side: 336,
                patches: 576,
                embeds: 144,
                most: 16,
            },
            TokenRule::Shapes {
                side: 448,
                patches: 1024,
                embeds: 256,
                most: 12,
            },
        ];
        for rule in rules {
            let most = rule.largest().embeds;
            for width in (1..6000).step_by(379) {
                for height in (1..6000).step_by(431) {
                    let n = rule.tokens(Image { width, height }).map_or(0, |t| t.embeds);
                    // A budget holds for every shape; a square wastes some of it.
                    assert!(
                        n <= most.max(280),
                        "{rule:?} {width} {height}: {n} > {most}"
                    );
                }
            }
        }
    }
}

//! Reads, and what a call costs that does next to nothing.
use super::super::harness::*;
use super::super::{launch, stream};
use super::{Operator, call, has, variants};
use crate::backend::Work;
use crate::family::{Point, ProbeError, Scope, Variant};

/// Numbers of a row that is summed.
const ROW: usize = 1024;

/// Reads of a working set.
pub(super) struct Stream;

impl Bench for Stream {
    fn name(&self) -> &'static str {
        "stream_read"
    }

    fn about(&self) -> &'static str {
        stream::Stream { read: true }.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::StreamRead]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        stream::Stream { read: true }.points(scope)
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let read = Operator {
            name: "read_rows",
            label: "read",
            needs: "",
        };
        [("product-", 1), ("sum-", 0)]
            .iter()
            .flat_map(|(label, product)| {
                variants(scope, &[read], label, &[("PRODUCT", *product)], "rw", 2)
            })
            .collect()
    }

    fn small(&self, _: &Variant) -> Point {
        point(
            "check".into(),
            vec![("bytes", (ROW * 4 * 37) as f64)],
            false,
        )
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let kernel = arena.compile(&variant.kernels[0])?;
        let total = (axis(point, "bytes") / (ROW * 4)).max(1);
        let most = (largest_buffer(arena.scope.device) as usize / (ROW * 4)).max(1);
        let pieces = total.div_ceil(most);
        let rows = total / pieces;
        let ring = arena.ring(rows * ROW, Format::F32, pieces)?;
        let out = arena.output(rows)?;
        let bytes = (rows * ROW * 4) as f64;
        let work = Work {
            bytes,
            flops: 0.0,
            working_set: bytes * pieces as f64,
        };
        let mut built = Built::default();
        for part in &ring {
            built
                .pass
                .push(call(arena, kernel, vec![part.at, out], &[rows], work));
        }
        if arena.keep {
            let get = |i: usize| Format::F32.decode(&ring[0].words, i);
            let sum = |r: usize| (r * ROW..(r + 1) * ROW).map(get).sum();
            built.answers.push(Answer {
                at: out,
                expect: Expect::Floats(Format::F32, (0..rows).map(sum).collect(), F32_TOLERANCE),
            });
        }
        Ok(built)
    }
}

const TICK: Operator = Operator {
    name: "tick",
    label: "tick",
    needs: "",
};

/// What the operator `tick` leaves.
const TICKED: u32 = 7;

fn ticks(arena: &mut Arena, n: usize, variant: &Variant) -> Result<Built, ProbeError> {
    let kernel = arena.compile(&variant.kernels[0])?;
    let out = arena.output(64)?;
    let one = call(arena, kernel, vec![out], &[], Work::default());
    let answers = vec![Answer {
        at: out,
        expect: Expect::Words(vec![TICKED; 64]),
    }];
    Ok(Built {
        pass: vec![one; n],
        answers,
    })
}

/// Calls of an operator on 64 numbers, one after another.
pub(super) struct LaunchCost;

impl Bench for LaunchCost {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn about(&self) -> &'static str {
        launch::LaunchCost.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Launch]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = launch::LaunchCost.points(scope);
        points.retain(|p| axis(p, "launches") > 0);
        points
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let mut all = variants(scope, &[TICK], "", &[], "w", 1);
        all.retain(|v| !v.id.ends_with("graph"));
        all
    }

    fn small(&self, _: &Variant) -> Point {
        point("check".into(), vec![("launches", 3.0)], false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        ticks(arena, axis(point, "launches"), variant)
    }
}

/// The same in a captured graph: what an engine pays that replays its decode steps.
pub(super) struct GraphCost;

impl Bench for GraphCost {
    fn name(&self) -> &'static str {
        "launch_graph"
    }

    fn about(&self) -> &'static str {
        "Operators that do next to nothing in a captured graph: what a step pays for each kernel where the engine replays graphs"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Launch]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        if !has(scope, "cuda-graphs") {
            return vec![];
        }
        [10, 100, 1000]
            .map(|n| {
                point(
                    format!("graph-{n}"),
                    vec![("launches", f64::from(n))],
                    n == 100,
                )
            })
            .into()
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let mut all = variants(scope, &[TICK], "", &[], "w", 1);
        all.retain(|v| v.id.ends_with("graph"));
        all
    }

    fn small(&self, _: &Variant) -> Point {
        point("check".into(), vec![("launches", 3.0)], false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        ticks(arena, axis(point, "launches"), variant)
    }
}

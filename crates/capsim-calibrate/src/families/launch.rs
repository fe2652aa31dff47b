//! What a launch costs that does nothing.
use super::harness::*;
use crate::backend::{Launch, Work};
use crate::family::{Point, ProbeError, Scope, Variant};

/// Buffers that independent launches write in turn.
const LANES: usize = 8;

pub(super) struct LaunchCost;

impl Bench for LaunchCost {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn about(&self) -> &'static str {
        "Empty kernels, alone and in rows: what a step pays for each kernel that it starts, and for waiting once"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Launch]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = vec![];
        for n in [1usize, 10, 100, 1000] {
            for chain in [true, false] {
                let required = chain && (n == 1 || n == 100);
                if required || (thorough(scope) && (n > 1 || chain)) {
                    let id = format!("{}-{n}", if chain { "chain" } else { "independent" });
                    // Under another name: a fit over `launches` is a fit of chains.
                    let axes = vec![(if chain { "launches" } else { "independent" }, n as f64)];
                    points.push(point(id, axes, required));
                }
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let group = if native(scope.device) { 1 } else { 64 };
        vec![Variant {
            id: format!("group-{group}"),
            kernels: vec![kernel("empty", &[], [group, 1], "w", 1)],
            options: vec![],
        }]
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
        let kernel = arena.compile(&variant.kernels[0])?;
        let (n, lanes) = match (axis(point, "launches"), axis(point, "independent")) {
            (0, n) => (n, LANES.min(n)),
            (n, _) => (n, 1),
        };
        let out = (0..lanes)
            .map(|_| arena.output(64))
            .collect::<Result<Vec<_>, _>>()?;
        let pass = (0..n)
            .map(|i| Launch {
                kernel,
                buffers: vec![out[i % lanes]],
                // Zero does nothing; the other writes, so that the kernel can be checked.
                numbers: vec![if arena.keep { 0x9e37_79b9 } else { 0 }],
                groups: [1, 1, 1],
                work: Work::default(),
            })
            .collect();
        let answers = vec![Answer {
            at: out[0],
            expect: Expect::Words((1..=variant.kernels[0].group[0]).collect()),
        }];
        Ok(Built { pass, answers })
    }
}

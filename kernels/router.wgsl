// Measures: softmax over the experts, the TOPK largest, renormalised: which experts a token goes to.
// Buffers: x [rows, EXPERTS] f32; weights [rows, TOPK] f32; ids [rows, TOPK]. Numbers: rows.
// Bytes per launch: 4 EXPERTS + 8 TOPK per row. FLOPs per launch: about EXPERTS (2 + TOPK) per row.
// SHAPE 0: a work-group of EXPERTS items has a row; SHAPE 1: an item has one.
// Honesty: weights and ids are stored.
// Answer: ids by falling x, the smaller id first among equals; weights e^x over the sum of the chosen e^x.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

const EXPERTS = ${EXPERTS}u;
const TOPK = ${TOPK}u;

var<workgroup> value: array<f32, EXPERTS>;
var<workgroup> place: array<u32, EXPERTS>;
var<workgroup> best: array<f32, TOPK>;

fn shared_by_group(lid: u32, row: u32) {
    var mine = x[row * EXPERTS + lid];
    for (var j = 0u; j < TOPK; j++) {
        value[lid] = mine;
        place[lid] = lid;
        for (var left = EXPERTS / 2u; left > 0u; left /= 2u) {
            workgroupBarrier();
            if (lid < left) {
                let other = value[lid + left];
                if (other > value[lid] || (other == value[lid] && place[lid + left] < place[lid])) {
                    value[lid] = other;
                    place[lid] = place[lid + left];
                }
            }
        }
        workgroupBarrier();
        let winner = place[0];
        if (lid == 0u) {
            best[j] = value[0];
            ids[row * TOPK + j] = winner;
        }
        if (lid == winner) { mine = -1e30; }
        workgroupBarrier();
    }
    var sum = 0.0;
    for (var j = 0u; j < TOPK; j++) { sum += exp(best[j] - best[0]); }
    if (lid < TOPK) { weights[row * TOPK + lid] = exp(best[lid] - best[0]) / sum; }
}

fn alone(row: u32) {
    if (row >= args[0].x) { return; }
    var all: array<f32, EXPERTS>;
    var top: array<f32, TOPK>;
    var sum = 0.0;
    for (var e = 0u; e < EXPERTS; e++) { all[e] = x[row * EXPERTS + e]; }
    for (var j = 0u; j < TOPK; j++) {
        var winner = 0u;
        for (var e = 1u; e < EXPERTS; e++) {
            if (all[e] > all[winner]) { winner = e; }
        }
        top[j] = all[winner];
        ids[row * TOPK + j] = winner;
        all[winner] = -1e30;
        sum += exp(top[j] - top[0]);
    }
    for (var j = 0u; j < TOPK; j++) { weights[row * TOPK + j] = exp(top[j] - top[0]) / sum; }
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn router(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    if (${SHAPE}u == 0u) { shared_by_group(local.x, wg.x); } else { alone(wg.x * ${WG}u + local.x); }
}

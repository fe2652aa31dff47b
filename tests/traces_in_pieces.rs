//! A trace that is read in pieces is the whole one; users who ask what a trace recorded.
use capsim::workload::Trace;
use capsim::workload::trace::Options;

#[test]
fn a_trace_in_pieces_is_the_whole_one() {
    use capsim::workload::trace::Pieces;
    let azure: String = std::iter::once("TIMESTAMP,ContextTokens,GeneratedTokens\n".to_string())
        .chain((0..400).map(|i| {
            format!(
                "2023-11-16 18:{:02}:{:02}.68,{},{}\n",
                15 + i / 60,
                i % 60,
                5 + i,
                1 + i % 7
            )
        }))
        .collect();
    let mooncake: String = (0..300)
        .map(|i| {
            let ids: Vec<u32> = (0..=i % 3).collect();
            let (input, output) = (512 * (i % 3) + 100, 1 + i);
            format!("{{\"timestamp\": {}, \"input_length\": {input}, \"output_length\": {output}, \"hash_ids\": {ids:?}}}\n", 10 * i)
        })
        .collect();
    let log: String = (0..50)
        .map(|i| {
            format!(
                "{{\"ts\": {}, \"prompt_tokens\": {}, \"completion_tokens\": 3}}\n",
                1_700_000_000 + i,
                7 + i
            )
        })
        .collect();
    let options = Options::default();
    for text in [&azure, &mooncake, &log] {
        let whole = Trace::parse(text, "t", &options).unwrap();
        for lines in [1, 7, 100] {
            let all: Vec<&str> = text.split_inclusive('\n').collect();
            let mut pieces = Pieces::new("t", &options);
            for piece in all.chunks(lines) {
                pieces.piece(&piece.concat()).unwrap();
            }
            assert_eq!(pieces.finish().unwrap(), whole, "{lines} lines a piece");
        }
    }
    // Lines count through all pieces.
    let mut pieces = Pieces::new("t", &options);
    pieces.piece(&azure).unwrap();
    let e = pieces
        .piece("2023-11-16 19:00:00,x,3\n")
        .unwrap_err()
        .to_string();
    assert!(e.contains("402") && e.contains("`x`"), "{e}");
    let mut pieces = Pieces::new("t", &options);
    pieces.piece(&azure).unwrap();
    let e = pieces
        .piece("2023-11-16 19:00:00,4\n")
        .unwrap_err()
        .to_string();
    assert!(e.contains("2 columns where the header has 3"), "{e}");
}

#[test]
fn users_may_ask_what_a_trace_recorded() {
    use capsim::workload::Source;
    use capsim::workload::load::{LoadFiles, resolve};
    struct One;
    impl LoadFiles for One {
        fn text(&self, _: &str) -> Result<String, String> {
            Ok("t,i,o\n0,10,1\n1,20,2\n2,30,3\n".into())
        }
        fn is_folder(&self, _: &str) -> bool {
            false
        }
        fn names(&self, _: &str) -> Result<Vec<String>, String> {
            Err("none".into())
        }
    }
    let read = |more: &str| {
        let load = format!(
            r#"{{"trace_file": "t.csv", "trace_format": "csv", "trace_columns": "time=t,input=i,output=o", "num_warmups": 0{more}}}"#
        );
        resolve(&serde_json::from_str(&load).unwrap(), &One)
    };
    let (w, _) = read(r#", "users": 2, "num_prompts": 5"#).unwrap();
    let mut source = w.source().unwrap();
    let mut asked = vec![];
    while let Some(r) = source.pop() {
        asked.push((r.prompt.len(), r.max_tokens));
        source.finished(r.id, r.arrival);
    }
    // The lengths in their order, begun anew when all were asked.
    assert_eq!(asked, [(10, 1), (20, 2), (30, 3), (10, 1), (20, 2)]);
    for (more, field) in [
        (r#", "users": 2, "turns": 3"#, "users"),
        (r#", "users": 2, "trace_speedup": 2"#, "users"),
        (r#", "images": "1x10x10""#, "trace_file"),
    ] {
        assert_eq!(read(more).unwrap_err().field, field, "{more}");
    }
}

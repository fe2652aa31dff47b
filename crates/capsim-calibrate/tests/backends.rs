//! The same body on every API: lists, compiles, runs in order, tells the time, refuses what is wrong.
//!
//! A test that finds no device says so and passes, unless `CAPSIM_REQUIRE_BACKENDS` (a comma-separated list of APIs) names that
//! API: CI sets it to `opencl,wgpu`, so that nothing is skipped there unnoticed. Speed is never asserted.
#![allow(clippy::disallowed_methods, reason = "reads one environment variable")]
use capsim_calibrate::backend::*;

/// Runs a body on the first device of an API, or skips.
fn on(api: Api, body: impl FnOnce(&mut dyn Backend)) {
    match capsim_calibrate::discover::open(api, 0) {
        Ok(mut device) => body(device.as_mut()),
        Err(why) => {
            let name = format!("{api:?}").to_lowercase();
            let required = std::env::var("CAPSIM_REQUIRE_BACKENDS").unwrap_or_default();
            assert!(
                !required.split(',').any(|r| r.trim() == name),
                "{name} is required here: {why}"
            );
            println!("SKIP {name} because {why}");
        }
    }
}

fn stream_read(shape: u32, group: u32) -> Kernel {
    Kernel {
        name: "stream_read",
        defines: vec![("SHAPE", shape.to_string())],
        group: [group, 1],
        buffers: vec![Access::Read, Access::ReadWrite],
        numbers: 1,
        needs: vec![],
    }
}

fn empty() -> Kernel {
    Kernel {
        name: "empty",
        defines: vec![],
        group: [32, 1],
        buffers: vec![Access::ReadWrite],
        numbers: 1,
        needs: vec![],
    }
}

fn launch(kernel: KernelId, buffers: &[Slice], numbers: &[u32], groups: u32) -> Launch {
    Launch {
        kernel,
        buffers: buffers.to_vec(),
        numbers: numbers.to_vec(),
        groups: [groups, 1, 1],
        work: Work::default(),
    }
}

fn whole(buffer: BufferId, len: u64) -> Slice {
    Slice {
        buffer,
        offset: 0,
        len,
    }
}

/// Words that look random and are the same in every run.
fn words(n: usize) -> Vec<u32> {
    let mut x = 0x1234_5678_u32;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x
        })
        .collect()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn read_words(device: &mut dyn Backend, from: Slice) -> Vec<u32> {
    let mut data = vec![0; from.len as usize];
    device.read(from, &mut data).unwrap();
    data.chunks_exact(4)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn sum(words: &[u32]) -> u32 {
    words.iter().fold(0, |a, w| a.wrapping_add(*w))
}

fn tells_what_it_is(device: &mut dyn Backend) {
    let info = device.info();
    assert!(!info.name.is_empty() && !info.driver.is_empty(), "{info:?}");
    assert!(!info.api_version.is_empty(), "{info:?}");
    assert!(info.max_group >= 64, "{info:?}");
    assert!(info.max_buffer_bytes >= 64 << 20, "{info:?}");
    assert!(info.max_binding_bytes >= 64 << 20 && info.max_binding_bytes <= info.max_buffer_bytes);
    let json = serde_json::to_string(info).unwrap();
    assert_eq!(&serde_json::from_str::<DeviceInfo>(&json).unwrap(), info);
}

/// Every access shape reads every word, whatever the size: also one that no group size divides.
fn reads_every_word(device: &mut dyn Backend) {
    for vectors in [1_usize, 7, 1000, 4099] {
        let data = words(4 * vectors);
        let source = device.alloc(16 * vectors as u64).unwrap();
        device
            .write(whole(source, 16 * vectors as u64), &bytes(&data))
            .unwrap();
        for (shape, group, groups) in [(0, 64, 3), (1, 1, 5), (1, 32, 2), (2, 64, 3)] {
            let kernel = device.compile(&stream_read(shape, group)).unwrap();
            let len = u64::from(4 * group * groups);
            let sums = device.alloc(len).unwrap();
            // Poison: what a kernel forgets to write must not pass for an answer.
            device
                .write(whole(sums, len), &vec![0x5A; len as usize])
                .unwrap();
            let timing = device
                .run(&[launch(
                    kernel,
                    &[whole(source, 16 * vectors as u64), whole(sums, len)],
                    &[vectors as u32],
                    groups,
                )])
                .unwrap();
            assert_eq!(
                sum(&read_words(device, whole(sums, len))),
                sum(&data),
                "shape {shape}, {vectors} vectors"
            );
            assert_eq!(
                timing.device.is_some(),
                device.info().timestamp_ns.is_some()
            );
            device.free(sums);
        }
        device.free(source);
    }
}

/// Slices begin where they say, and nothing outside them is read or written.
fn slices_begin_at_their_offset(device: &mut dyn Backend) {
    let kernel = device.compile(&stream_read(0, 64)).unwrap();
    let data = words(4096);
    let source = device.alloc(16384).unwrap();
    device.write(whole(source, 16384), &bytes(&data)).unwrap();
    let sums = device.alloc(2048).unwrap();
    device.write(whole(sums, 2048), &[0xFF; 2048]).unwrap();
    for (offset, vectors) in [(512_u64, 16_u32), (4096, 256), (16384 - 512, 32)] {
        let from = Slice {
            buffer: source,
            offset,
            len: 16 * u64::from(vectors),
        };
        let to = Slice {
            buffer: sums,
            offset: 1024,
            len: 256,
        };
        device
            .run(&[launch(kernel, &[from, to], &[vectors], 1)])
            .unwrap();
        let all = read_words(device, whole(sums, 2048));
        let begin = offset as usize / 4;
        assert_eq!(
            sum(&all[256..256 + 64]),
            sum(&data[begin..begin + 4 * vectors as usize])
        );
        assert!(all[..256].iter().chain(&all[320..]).all(|w| *w == u32::MAX));
    }
    // Copies know offsets, too.
    let at = Slice {
        buffer: source,
        offset: 1024,
        len: 64,
    };
    device.write(at, &[7; 64]).unwrap();
    let back = read_words(device, whole(source, 16384));
    assert_eq!(back[255], data[255]);
    assert!(back[256..272].iter().all(|w| *w == 0x0707_0707));
    assert_eq!(back[272], data[272]);
}

/// Each launch sees what the one before has written: sums of sums, many in a row, in one run.
fn launches_run_in_order(device: &mut dyn Backend) {
    let kernel = device.compile(&stream_read(0, 4)).unwrap();
    let a = device.alloc(64).unwrap();
    let b = device.alloc(64).unwrap();
    let start: Vec<u32> = (1..=4).collect();
    device.write(whole(a, 64), &bytes(&words(16))).unwrap();
    let first = Slice {
        buffer: a,
        offset: 0,
        len: 16,
    };
    let second = Slice {
        buffer: b,
        offset: 0,
        len: 16,
    };
    device.write(first, &bytes(&start)).unwrap();
    device.write(second, &[0; 16]).unwrap();
    // One vector read by four items: item 0 gets its sum, the others 0.
    let mut chain = vec![];
    for i in 0..300 {
        let (from, to) = if i % 2 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        chain.push(launch(kernel, &[from, to], &[1], 1));
    }
    device.run(&chain).unwrap();
    assert_eq!(read_words(device, first), [10, 0, 0, 0]);
    // The same chain cut in two gives the same.
    device.write(first, &bytes(&start)).unwrap();
    device.run(&chain[..7]).unwrap();
    device.run(&chain[7..]).unwrap();
    assert_eq!(read_words(device, first), [10, 0, 0, 0]);
}

/// Numbers reach the kernel of their own launch, also when launches share a run.
fn numbers_belong_to_their_launch(device: &mut dyn Backend) {
    let kernel = device.compile(&empty()).unwrap();
    let buffer = device.alloc(8192).unwrap();
    device.write(whole(buffer, 8192), &[0; 8192]).unwrap();
    let at = |offset| Slice {
        buffer,
        offset,
        len: 128,
    };
    const GO: u32 = 0x9E37_79B9;
    device
        .run(&[
            launch(kernel, &[at(0)], &[0], 1),
            launch(kernel, &[at(512)], &[GO], 1),
            launch(kernel, &[at(1024)], &[GO + 1], 1),
            launch(kernel, &[at(1536)], &[GO], 1),
        ])
        .unwrap();
    let all = read_words(device, whole(buffer, 8192));
    let counted: Vec<u32> = (1..=32).collect();
    assert!(all[..128].iter().all(|w| *w == 0));
    assert_eq!(all[128..160], counted);
    assert!(all[256..384].iter().all(|w| *w == 0));
    assert_eq!(all[384..416], counted);
}

/// More launches lie between two timestamps: never less than nothing, and not longer than the host waited.
fn time_is_sane(device: &mut dyn Backend) {
    let kernel = device.compile(&stream_read(0, 64)).unwrap();
    let size = 4_u64 << 20;
    let source = device.alloc(size).unwrap();
    let sums = device.alloc(4 * 64 * 16).unwrap();
    device
        .write(whole(source, size), &vec![1; size as usize])
        .unwrap();
    let one = launch(
        kernel,
        &[whole(source, size), whole(sums, 4 * 64 * 16)],
        &[(size / 16) as u32],
        16,
    );
    for n in [1, 2, 20] {
        let timing = device.run(&vec![one.clone(); n]).unwrap();
        assert!(timing.host > std::time::Duration::ZERO);
        if let Some(device_time) = timing.device {
            assert!(device_time > std::time::Duration::ZERO);
            // Two clocks: allow them 10 % and a millisecond.
            let host = timing.host.mul_f64(1.1) + std::time::Duration::from_millis(1);
            assert!(device_time <= host, "{timing:?}");
        }
    }
    let none = device.run(&[]).unwrap();
    assert!(none.device.is_none_or(|d| d.is_zero()));
}

fn wrong_use_is_an_error(device: &mut dyn Backend) {
    // A define that makes nonsense of the source: the compiler's words come back.
    let mut bad = stream_read(0, 64);
    bad.defines = vec![("SHAPE", "no such thing;".into())];
    match device.compile(&bad) {
        Err(BackendError::Compile { kernel, log }) => {
            assert_eq!(kernel, "stream_read");
            assert!(log.len() > 10, "{log}");
        }
        other => panic!("{other:?}"),
    }
    let unknown = Kernel {
        name: "no_such_kernel",
        ..empty()
    };
    assert!(matches!(
        device.compile(&unknown),
        Err(BackendError::Unsupported { .. })
    ));
    let needy = Kernel {
        needs: vec!["perpetual-motion"],
        ..empty()
    };
    assert!(matches!(
        device.compile(&needy),
        Err(BackendError::Unsupported { .. })
    ));
    let huge = Kernel {
        group: [1 << 20, 1],
        ..empty()
    };
    assert!(matches!(
        device.compile(&huge),
        Err(BackendError::Unsupported { .. })
    ));

    for bytes in [0, u64::MAX, device.info().max_buffer_bytes + 1] {
        assert!(
            matches!(device.alloc(bytes), Err(BackendError::Memory { .. })),
            "{bytes}"
        );
    }

    let kernel = device.compile(&empty()).unwrap();
    let buffer = device.alloc(4096).unwrap();
    let slice = |offset, len| Slice {
        buffer,
        offset,
        len,
    };
    for (offset, len) in [
        (0, 4097),
        (4096, 1),
        (0, 0),
        (u64::MAX - 511, 512),
        (100, 128),
    ] {
        let run = device.run(&[launch(kernel, &[slice(offset, len)], &[0], 1)]);
        assert!(
            matches!(run, Err(BackendError::Device(_))),
            "{offset} {len}"
        );
        if len < 5000 {
            let mut data = vec![0; len as usize];
            assert!(device.read(slice(offset, len), &mut data).is_err());
            assert!(device.write(slice(offset, len), &data).is_err());
        }
    }
    assert!(device.write(slice(0, 64), &[0; 63]).is_err());
    let good = slice(0, 4096);
    for wrong in [
        launch(kernel, &[], &[0], 1),
        launch(kernel, &[good, good], &[0], 1),
        launch(kernel, &[good], &[], 1),
        launch(kernel, &[good], &[0], 0),
        launch(KernelId(999), &[good], &[0], 1),
        launch(kernel, &[whole(BufferId(999), 16)], &[0], 1),
    ] {
        assert!(matches!(device.run(&[wrong]), Err(BackendError::Device(_))));
    }
    device.free(buffer);
    assert!(device.run(&[launch(kernel, &[good], &[0], 1)]).is_err());
    device.free(buffer);

    // And after all that the device still works.
    let buffer = device.alloc(4096).unwrap();
    device
        .run(&[launch(kernel, &[whole(buffer, 4096)], &[0], 1)])
        .unwrap();
}

/// A device that does not finish in time is an error, then and from then on; giving it up does not wait for it.
fn gives_up<B: Backend>(mut device: B, set_deadline: fn(&mut B, std::time::Duration)) {
    let kernel = device.compile(&stream_read(0, 64)).unwrap();
    let size = 16_u64 << 20;
    let source = device.alloc(size).unwrap();
    let sums = device.alloc(256).unwrap();
    let both = [whole(source, size), whole(sums, 256)];
    let one = launch(kernel, &both, &[(size / 16) as u32], 1);
    set_deadline(&mut device, std::time::Duration::from_micros(100));
    match device.run(&vec![one.clone(); 64]) {
        Err(BackendError::Lost(why)) => assert!(why.contains("no answer within"), "{why}"),
        other => panic!("{other:?}"),
    }
    let e = device.run(&[one]).unwrap_err().to_string();
    assert!(e.contains("did not finish"), "{e}");
    assert!(device.read(whole(sums, 256), &mut [0; 256]).is_err());
    assert!(device.alloc(256).is_err() && device.compile(&empty()).is_err());
    device.free(source);
}

#[cfg(feature = "opencl")]
#[test]
fn opencl_gives_up_a_device_that_hangs() {
    use capsim_calibrate::opencl::OpenCl;
    let Ok(device) = OpenCl::open(0) else {
        return on(Api::Opencl, |_| {});
    };
    gives_up(device, OpenCl::set_deadline);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_gives_up_a_device_that_hangs() {
    use capsim_calibrate::wgpu::Wgpu;
    let Ok(device) = Wgpu::open(0) else {
        return on(Api::Wgpu, |_| {});
    };
    gives_up(device, Wgpu::set_deadline);
}

/// One test per API and body.
macro_rules! on_every_api {
    ($($body:ident)*) => {
        mod opencl { $( #[test] fn $body() { super::on(super::Api::Opencl, super::$body) } )* }
        mod wgpu { $( #[test] fn $body() { super::on(super::Api::Wgpu, super::$body) } )* }
    };
}

on_every_api! {
    tells_what_it_is
    reads_every_word
    slices_begin_at_their_offset
    launches_run_in_order
    numbers_belong_to_their_launch
    time_is_sane
    wrong_use_is_an_error
}

//! Outputs of small tools, as their authors and users print them, and what must be read of them.
use capsim_study::import::rates::{Rates, read};

fn only(text: &str) -> Rates {
    let mut all = read(text, "a file").unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn is(v: Option<f64>, expected: f64) -> bool {
    v.is_some_and(|v| (v / expected - 1.0).abs() < 1e-6)
}

/// README of nihui/vkpeak@2d7e84bf.
#[test]
fn vkpeaks_copies_count_once_and_a_geforces_short_sums_are_no_matrix_rate() {
    let geforce = "device       = NVIDIA GeForce RTX 5060 Ti\n\nfp32-scalar  = 17137.46 GFLOPS\nfp16-matrix  = 101485.35 GFLOPS\n\
                   bf16-matrix  = 0.00 GFLOPS\nfp8-matrix   = 0.00 GFLOPS\ncopy-h2d     = 17.93 GBPS\ncopy-d2d     = 190.70 GBPS\n";
    let r = only(geforce);
    assert!(is(r.stream_gbs, 381.4) && is(r.bus_gbs, 17.93), "{r:?}");
    assert!(
        r.matrix_16.is_none() && r.notes[0].contains("16 bits"),
        "{r:?}"
    );
    let radeon = geforce.replace(
        "NVIDIA GeForce RTX 5060 Ti",
        "AMD Radeon Graphics (RADV GFX1200)",
    );
    assert!(is(only(&radeon).matrix_16, 101.48535));
}

/// llm-tracker.info, Strix Halo: 212 GB/s of 256 within the device, 84 from the host.
#[test]
fn rocm_bandwidth_test_counts_both_ways_of_a_copy() {
    let text = "          RocmBandwidthTest Version: 2.6.0\n\n          Device: 0,  AMD Eng Sample: 100-000001243-50_Y\n          Device: 1,  AMD Radeon Graphics,  GPU-XX,  \
                c2:0.0\n\n          Inter-Device Access\n\n          D/D       0         1\n\n          0         1         1\n\n          1         1         1\n\n\n          \
                Unidirectional copy peak bandwidth GB/s\n\n          D/D       0           1\n\n          0         N/A         84.364\n\n          1         84.147      \
                212.419\n\n\n          Bidirectional copy peak bandwidth GB/s\n\n          D/D       0           1\n\n          0         N/A         83.489\n";
    let r = only(text);
    assert!(is(r.stream_gbs, 212.419) && is(r.bus_gbs, 84.364), "{r:?}");
    assert_eq!(r.device.as_deref(), Some("AMD Radeon Graphics"));
    assert_eq!(r.link_gbs, None);
}

/// README of GpuZelenograd/memtest_vulkan@00b42a87, both generations.
#[test]
fn memtest_vulkan_tells_what_it_read() {
    let old = "https://github.com/GpuZelenograd/memtest_vulkan v0.3.0 by GpuZelenograd\nTesting 1: Bus=0x01:00 DevId=0x2204   24GB NVIDIA GeForce RTX 3090\n      1 iteration. \
               Since last report passed 56.112854ms     written    19.5GB, read:    22.8GB    752.9GB/sec\n     19 iteration. Since last report passed 1.011701765s    written   \
               351.0GB, read:   409.5GB    751.7GB/sec\n    199 iteration. Since last report passed 10.050222094s   written  3510.0GB, read:  4095.0GB    756.7GB/sec\n";
    let r = only(old);
    assert!(is(r.stream_gbs, 752.9) && is(r.memory_gib, 24.0), "{r:?}");
    assert_eq!(r.device.as_deref(), Some("NVIDIA GeForce RTX 3090"));
    let new = "https://github.com/GpuZelenograd/memtest_vulkan v0.4.2 by GpuZelenograd\nStandard 5-minute test of 1: Bus=0x00:00 DevId=0xBE485FD3   1GB V3D 4.2\n      1 \
               iteration. Passed  1.8044 seconds  written:    0.2GB   0.6GB/sec        checked:    0.5GB   0.4GB/sec\n";
    assert!(is(only(new).stream_gbs, 0.4));
}

/// README of ekondis/mixbench@07e60e2e: an RTX 2070 with 448 GB/s.
#[test]
fn mixbenchs_fourth_column_is_the_memory() {
    let text = "mixbench/read-only (v0.03-2-gbccfd71)\nDevice:              GeForce RTX 2070\nTotal global mem:    7979 MB\nExperiment ID, Single Precision ops,,,,              Double \
                precision ops,,,,  \nCompute iters, Flops/byte, ex.time,  GFLOPS, GB/sec, Flops/byte, ex.time,  GFLOPS, GB/sec\n            0,      0.250,    0.32,  104.42, 417.68,      \
                0.125,    0.63,   53.04, 424.35\n            7,      3.750,    0.32, 1592.45, 424.65,      1.875,    2.27,  221.38, 118.07\n";
    let r = only(text);
    assert!(
        is(r.stream_gbs, 424.65) && is(r.memory_gib, 7979.0 / 1024.0),
        "{r:?}"
    );
}

/// README of NVIDIA/nvbandwidth@66746a3b; the local copy is that of a text in its form.
#[test]
fn nvbandwidth_in_words_and_in_json() {
    let text = "Device 0: NVIDIA H100 80GB HBM3 (00000000:0f:00)\n\nRunning host_to_device_memcpy_ce.\nmemcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)\n           0         1\n 0     \
                55.63     55.60\n\nSUM host_to_device_memcpy_ce 111.23\n\nRunning device_to_device_memcpy_write_ce.\nmemcpy CE GPU(row) <- GPU(column) bandwidth (GB/s)\n          0         \
                1\n0      0.00    276.07\n1    276.19      0.00\n\nRunning device_local_copy.\nmemcpy local GPU(column) bandwidth (GB/s)\n           0         1\n 0   1400.50   1399.00\n";
    let r = only(text);
    assert!(
        is(r.stream_gbs, 2801.0) && is(r.bus_gbs, 55.63) && is(r.link_gbs, 276.19),
        "{r:?}"
    );
    assert_eq!(r.device.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    let json = r#"{"nvbandwidth": {"testcases": [{"name": "device_local_copy", "bandwidth_matrix": [["1400.5", "N/A"]], "status": "Passed"}]}}"#;
    assert!(is(only(json).stream_gbs, 2801.0));
}

/// README of krrishnarraj/clpeak@a68fbf05, its older text, and results/Nvidia/GeForce_RTX_5060.xml, shortened.
#[test]
fn clpeak_old_and_new_and_saved() {
    let new = "Backend: CUDA\n  Device 0: NVIDIA GeForce RTX 5060\n    Tensor cores (WMMA / mma.sync)\n      fp16     : 42.6 TFLOPS\n      fp8_e4m3 : 85.2 TFLOPS\n      nvf4_e2m1 : 328 \
               TFLOPS\n    cuBLASLt GEMM peak\n      fp16     : 79.1 TFLOPS\n    Global memory bandwidth\n      float4   : 420 GB/s\n    Kernel launch latency\n      roundtrip : 6.68 us\n";
    let r = only(new);
    assert!(
        is(r.stream_gbs, 420.0) && is(r.matrix_16, 42.6) && is(r.matrix_8, 85.2),
        "{r:?}"
    );
    let old = "\nPlatform: AMD Accelerated Parallel Processing\n  Device: gfx1151\n    Driver version  : 3649.0 (Linux x64)\n    Compute units   : 20\n    Clock frequency : 2900 MHz\n\n    Global \
               memory bandwidth (GBPS)\n      float   : 213.45\n      float2  : 215.10\n\n    Single-precision compute (GFLOPS)\n      float   : 11000.00\n\n    Transfer bandwidth (GBPS)\n      \
               enqueueWriteBuffer              : 84.20\n      memcpy to mapped ptr          : 30.10\n";
    let r = only(old);
    assert!(
        is(r.stream_gbs, 215.1) && is(r.bus_gbs, 84.2) && r.matrix_16.is_none(),
        "{r:?}"
    );
    let xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<clpeak format_version=\"2\">\n  <run backend=\"CUDA\" platform=\"CUDA\" device=\"NVIDIA GeForce RTX 5060\" driver=\"13.3\">\n    \
               <prop name=\"VRAM\" value=\"7743 MB\"/>\n      <test name=\"wmma_fp16\" unit=\"tflops\">\n        <metric name=\"wmma_fp16\">42.5577</metric>\n      <test \
               name=\"wmma_fp16_f16\" unit=\"tflops\">\n        <metric name=\"fp16_f16acc\">83.4134</metric>\n      <test name=\"global_memory_bandwidth\" unit=\"gbps\">\n        \
               <metric name=\"float4\">420.1</metric>\n";
    let r = only(xml);
    assert!(is(r.matrix_16, 42.5577) && is(r.stream_gbs, 420.1), "{r:?}");
    assert!(is(r.memory_gib, 7743.0 / 1024.0));
}

/// Rows printed in kvcache-ai/Mooncake#3484: bus bandwidth 1.75 times the algorithm's, so eight devices.
#[test]
fn nccl_tests_tell_how_many_devices_there_were() {
    let text = "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong\n\
                       32768          8192     float     sum      -1    18.66    1.76    3.07       0    17.95    1.83    3.20       0\n\
                     1048576        262144     float     sum      -1    27.76   37.78   66.11       0    27.49   38.15   66.76       0\n\
                    67108864      16777216     float     sum      -1   330.00  203.36  355.88       0   330.00  203.36  355.88       0\n";
    let r = only(text);
    let source = capsim_study::import::Source {
        name: "a test".into(),
        licence: "none".into(),
    };
    let link = r.all_reduces.link(&source).unwrap();
    assert_eq!(link.latency.value, 18.66e-6);
    // 1.75 · 64 MiB in 330 − 18.66 µs.
    assert!((link.rate.value / 377.2e9 - 1.0).abs() < 0.01, "{link:?}");
}

#[test]
fn what_is_none_of_them_is_refused_by_what_is_read() {
    for text in [
        "",
        "hello",
        "{}",
        "memtest_vulkan iteration.",
        "device = x\nfp32-scalar = y",
    ] {
        let e = read(text, "x.txt").unwrap_err().to_string();
        assert!(e.starts_with("x.txt: "), "{text}: {e}");
    }
}

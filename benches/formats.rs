//! The cost of encoding and decoding a map in each format, and of frames.

use std::hint::black_box;
use std::io::Cursor;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mapcast::frame::{Frame, FrameReader, decode_header, encode_header};
use mapcast::{DEFAULT_MAX_FRAME, Format, Key, Map, Value};

/// Entries of the measured map: keys of eight characters, and integers as values.
const ENTRIES: i64 = 1000;

fn map() -> Map {
    (0..ENTRIES).map(|entry| (Key::from(format!("key{entry:05}")), Value::from(entry))).collect()
}

fn formats(criterion: &mut Criterion) {
    let map = map();
    let entries = Throughput::Elements(map.len() as u64);

    let mut group = criterion.benchmark_group("encode");
    group.throughput(entries.clone());
    for format in Format::ALL {
        group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
            bencher.iter(|| format.encode_map(black_box(&map)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("decode");
    group.throughput(entries);
    for format in Format::ALL {
        let Ok(payload) = format.encode_map(&map) else { continue };
        println!("{format}: {} bytes", payload.len());
        group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
            bencher.iter(|| format.decode_map(black_box(&payload)));
        });
    }
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    group.bench_function("encode", |bencher| bencher.iter(|| encode_header(black_box(24_008))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode_header(black_box(b"24008     "))));
    group.finish();

    let Ok(payload) = Format::default().encode_map(&map()) else { return };
    let Ok(frame) = Frame::new(&payload, DEFAULT_MAX_FRAME) else { return };
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(frame.as_bytes().len() as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| FrameReader::new(Cursor::new(black_box(frame.as_bytes())), DEFAULT_MAX_FRAME).read_frame());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = formats, frames
}
criterion_main!(benches);

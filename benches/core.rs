//! Each step and the whole core, with criterion's statistics: to compare a change with what was before.
//! `ratios` has the table that does not depend on the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may panic")]

mod corpus;
mod steps;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn benchmarks(criterion: &mut Criterion) {
    let (corpora, inventories) = corpus::all();
    for corpus in &corpora {
        let mut group = criterion.benchmark_group(corpus.name);
        let throughput = Throughput::ElementsAndBytes { elements: corpus.events, bytes: corpus.json_bytes };
        group.throughput(throughput);
        steps::with_steps(corpus, &inventories, |steps| {
            for step in steps {
                group.bench_function(step.name, |bencher| bencher.iter(&mut step.run));
            }
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // Long enough to compare by; ten of them in half a minute.
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = benchmarks
}
criterion_main!(benches);

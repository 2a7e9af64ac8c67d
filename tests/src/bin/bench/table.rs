//! What was measured, as text.
//!
//! The invariant: medians over the runs that count, and ratios of medians.

use aggregator_tests::stream::Shape;

use crate::Program;
use crate::drain::Drained;

/// One drain as a line.
pub(crate) fn line(program: Program, one: &Drained) -> String {
    format!(
        "{:<12} {:>9.0} trades/s {:>6.3} CPU-s/M {:>6.0} MiB {:>6.0} flushes {:>8.0} rows {:>7.0} rows/s",
        program.name(),
        one.trades_per_second,
        one.cpu_seconds_per_million,
        one.peak_resident_mib,
        one.flushes,
        one.rows,
        one.rows_per_second
    )
}

/// Prints the medians of every program and what the host costs beside the others.
pub(crate) fn print(shape: Shape, medians: &[(Program, Drained)]) {
    println!("\n{shape:?}, median of the runs that count:");
    for (program, median) in medians {
        println!("  {}", line(*program, median));
    }
    let of =
        |wanted: Program| medians.iter().find(|(program, _)| *program == wanted).map(|(_, median)| median);
    for other in [Program::Baseline, Program::NativeHost] {
        if let (Some(host), Some(native)) = (of(Program::Host), of(other)) {
            println!(
                "  host : {:<12} throughput {:.2} x, CPU {:.2} x, memory {:.2} x, rows/s {:.2} x",
                other.name(),
                host.trades_per_second / native.trades_per_second,
                host.cpu_seconds_per_million / native.cpu_seconds_per_million,
                host.peak_resident_mib / native.peak_resident_mib,
                host.rows_per_second / native.rows_per_second
            );
        }
    }
    println!();
}

/// The medians of one program; none where it was not measured.
pub(crate) fn medians(program: Program, drained: &[(Program, Drained)]) -> Option<Drained> {
    let of_program: Vec<Drained> =
        drained.iter().filter(|(one, _)| *one == program).map(|(_, one)| *one).collect();
    let by = |figure: fn(&Drained) -> f64| quantile(of_program.iter().map(figure).collect(), 0.5);
    Some(Drained {
        trades_per_second: by(|one| one.trades_per_second)?,
        cpu_seconds_per_million: by(|one| one.cpu_seconds_per_million)?,
        peak_resident_mib: by(|one| one.peak_resident_mib)?,
        flushes: by(|one| one.flushes)?,
        rows: by(|one| one.rows)?,
        rows_per_second: by(|one| one.rows_per_second)?,
    })
}

/// Latencies as a line.
pub(crate) fn latencies(latencies_ms: &[f64]) -> String {
    let of = |share| quantile(latencies_ms.to_vec(), share).unwrap_or(f64::NAN);
    format!(
        "{} probes, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        latencies_ms.len(),
        of(0.5),
        of(0.9),
        of(0.99),
        of(1.0)
    )
}

/// A quantile by the nearest rank; none of nothing.
pub(crate) fn quantile(mut figures: Vec<f64>, share: f64) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let rank = (share * figures.len() as f64).ceil() as usize;
    figures.get(rank.saturating_sub(1)).copied()
}

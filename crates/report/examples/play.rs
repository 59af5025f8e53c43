//! Plays a recorded run on the terminal, at its own pace: for looking at the live report without a machine to boot.
//!
//! `cargo run -p bootgate-report --example play -- RUNDIR [SPEED]`

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootgate_report::{Live, Reporter, read_log, write_reports};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which run folder?")?);
    let speed: f64 = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
    let events = read_log(&folder.join("events.jsonl"))?;
    let start = Instant::now();
    let mut live = Live::new();
    for event in &events {
        let due = Duration::from_micros(event.mono_us).div_f64(speed);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        live.event(event, &[]);
    }
    live.finish();
    write_reports(&folder, &events)?;
    Ok(())
}

//! A sandbox by itself.

use std::time::{Duration, Instant};

use crate::{enter, lab, run};

/// A sandbox with a segment and a port stands within 200 ms.
pub fn up() {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            let sandbox = enter();
            let entered = start.elapsed();
            run(async {
                sandbox.create_segment(lab()).await.unwrap();
                let port = sandbox.create_port("lab", "client").await.unwrap();
                println!("{entered:?} {:?} {:?}", start.elapsed(), port.kind());
            });
            let took = start.elapsed();
            drop(sandbox);
            println!("down {:?}", start.elapsed());
            took
        })
        .min()
        .unwrap();
    assert!(best < Duration::from_millis(200), "it took {best:?}");
}

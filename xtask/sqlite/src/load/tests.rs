//! What loading takes and refuses.

use std::fs::File;
use std::io::BufReader;

use super::load;

mod child;
mod honest;
mod hostile;
mod row;

/// How long the loading alone takes, for `ci/measure_load.py`: loads the dump `XTASK_MEASURE_DUMP` into
/// `XTASK_MEASURE_TO`.
#[test]
#[ignore = "a measurement"]
fn measured() {
    let [dump, to] = ["XTASK_MEASURE_DUMP", "XTASK_MEASURE_TO"].map(|name| std::env::var_os(name).unwrap());
    let mut dump = BufReader::with_capacity(256 << 10, File::open(dump).unwrap());
    let began = std::time::Instant::now();
    load(&mut dump, to.as_ref()).unwrap();
    println!("loaded in {:.3} s", began.elapsed().as_secs_f64());
}

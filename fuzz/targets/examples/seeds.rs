//! Writes the seeds that are signed: `cargo run -p fuzz-targets --example seeds`, once what they are made of has changed.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for (target, name, bytes) in fuzz_targets::good_documents() {
        fs::create_dir_all(seeds.join(target))?;
        fs::write(seeds.join(target).join(name), bytes)?;
    }
    Ok(())
}

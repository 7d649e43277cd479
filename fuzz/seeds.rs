//! Writes valid blocks into `corpus/<target>/`, for the fuzzer to begin with.

use std::path::Path;

use tenure_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("frame", seeds::frames()),
        ("canary", seeds::frames()),
        ("manifest", seeds::manifest_entries()),
        ("segment_header", seeds::segment_headers()),
        ("page", seeds::pages()),
        ("head", seeds::heads()),
        ("node", seeds::nodes()),
        ("key", seeds::keys()),
        ("import", seeds::imports()),
        ("dump", tenure_fuzz::dump::seeds()),
    ];
    for (target, seeds) in targets {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (index, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}

//! Kernel images, mapped and never run.

use ndis_sim::driver::Image;

/// One input.
pub fn run(data: &[u8]) {
    let resolve = |_: &str, name: &str| (!name.starts_with('?')).then_some(run as *const ());
    let Ok(image) = Image::map("fuzzed.sys", data, resolve) else {
        return;
    };
    let (base, size) = (image.base(), image.size());
    let within = base..base + size;
    assert!(within.contains(&image.entry().addr()));
    for (_, start, length) in image.sections() {
        assert!(within.contains(&start) || length == 0);
        assert!(length <= within.end - start);
    }
}

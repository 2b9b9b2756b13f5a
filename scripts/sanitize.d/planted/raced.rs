//! Planted: two threads write one place without order. Whatever looks for that must report it.

static mut PLACE: u64 = 0;

fn write(value: u64) {
    for _ in 0..1000 {
        // SAFETY: none; this is the fault.
        unsafe { std::ptr::write_volatile(&raw mut PLACE, value) };
    }
}

fn main() {
    let other = std::thread::spawn(|| write(1));
    write(2);
    let _ = other.join();
}

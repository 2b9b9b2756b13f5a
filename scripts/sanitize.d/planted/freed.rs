//! Planted: reads memory that was freed. Whatever looks for that must report it.

fn main() {
    let boxed = Box::new(std::hint::black_box(7_u64));
    let pointer = Box::into_raw(boxed);
    // SAFETY: sound, for it came from a box.
    drop(unsafe { Box::from_raw(pointer) });
    // SAFETY: none; this is the fault.
    let value = unsafe { std::ptr::read_volatile(pointer) };
    std::process::exit(i32::from(value == 0));
}

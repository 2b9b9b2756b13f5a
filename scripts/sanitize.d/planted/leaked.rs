//! Planted: loses the only pointer to memory. Whatever looks for that must report it.

fn lose() {
    std::hint::black_box(Box::into_raw(Box::new([7_u8; 4096])));
}

fn main() {
    lose();
    // Another call writes over what the stack still had of the pointer.
    let used = std::hint::black_box([0_u8; 4096]);
    assert_eq!(used[17], 0);
}

//! The code that a stranger is given and an operator is told.

use std::time::Duration;

/// What no two people read differently: no 0 and O, no 1 and I. 32 of them, so that five bits are one.
const SYMBOLS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const LENGTH: u32 = 8;

/// A fresh code of eight symbols: 40 random bits.
pub fn fresh_code() -> String {
    let bits = rand::random::<u64>();
    (0..LENGTH).map(|n| char::from(SYMBOLS[(bits >> (5 * n) & 31) as usize])).collect()
}

/// A code as it is kept, however somebody typed it.
pub fn typed_code(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// What a stranger is told.
pub fn invitation(code: &str, life: Duration) -> String {
    let minutes = life.as_secs().div_ceil(60);
    format!(
        "I do not know you yet, so your message was not passed on. Give this code to whoever runs this bot: {code}\n\
         It is good for {minutes} minutes. Once they have let you in, write again."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_survive_being_typed() {
        let code = fresh_code();
        assert!(code.len() == 8 && code.bytes().all(|symbol| SYMBOLS.contains(&symbol)), "{code}");
        assert_ne!(code, fresh_code());
        let (left, right) = code.split_at(4);
        assert_eq!(typed_code(&format!(" {}-{} ", left.to_lowercase(), right)), code);
        assert!(invitation(&code, Duration::from_secs(3_600)).contains(&format!("{code}\nIt is good for 60 minutes")));
    }
}

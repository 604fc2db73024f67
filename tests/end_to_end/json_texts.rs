//! JSON texts at random: well-formed (RFC 8259), and as odd as that allows.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// A source of texts that repeats itself for the same seed.
pub(crate) struct JsonTexts(u64);

const SPACES: [&str; 8] = ["", "", "", " ", "\t", "\n", "\r\n", "  \n\t "];
const NUMBERS: [&str; 14] = [
    "0",
    "-0",
    "-0.0",
    "0e0",
    "1.0",
    "1.50",
    "1E400",
    "-1e+400",
    "1e-400",
    "0.1E+00001",
    "9007199254740993",
    "-9223372036854775809",
    "18446744073709551616",
    "123456789012345678901234567890.123456789012345678901234567890",
];
const PIECES: [&str; 26] = [
    "plain",
    " ",
    "é",
    "e\u{301}",
    "漢",
    "\u{1f58b}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "\u{ffff}",
    "\u{10ffff}",
    "</script>",
    r#"\""#,
    r"\\",
    r"\/",
    r"\b\f\n\r\t",
    r"\u0041",
    r"\u00e9",
    r"\u00E9",
    r"\u0000",
    r"\ud83d\ude00",
    r"\ud800",
    r"\uDFFF",
    r"\udc00\ud800",
];

impl JsonTexts {
    /// With the seed that `JSON_SEED` gives, or one that is new each time; it is printed.
    pub(crate) fn new() -> Self {
        let seed = env::var("JSON_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
            u64::from(elapsed.subsec_nanos()) ^ elapsed.as_secs()
        });
        println!("to repeat the texts: JSON_SEED={seed}");
        Self(seed)
    }

    /// One value, without white space around it.
    pub(crate) fn text(&mut self) -> String {
        let mut text = String::new();
        if self.below(16) == 0 {
            let depth = 1 + self.below(2000);
            let (open, close) = if self.below(2) == 0 { ("[", "]") } else { (r#"{"":"#, "}") };
            text.push_str(&open.repeat(depth));
            self.push_value(&mut text, 1);
            text.push_str(&close.repeat(depth));
        } else {
            self.push_value(&mut text, 4);
        }
        text
    }

    /// White space, or none.
    pub(crate) fn space(&mut self) -> &'static str {
        self.one_of(&SPACES)
    }

    fn push_value(&mut self, text: &mut String, depth: usize) {
        match self.below(if depth == 0 { 5 } else { 11 }) {
            0 => text.push_str(self.one_of(&["true", "false", "null", "[]", "{}"])),
            1 | 2 => self.push_number(text),
            3 | 4 => self.push_string(text),
            5..=7 => self.push_items(text, ['[', ']'], |texts, text| texts.push_value(text, depth - 1)),
            _ => {
                let mut name = String::new();
                self.push_items(text, ['{', '}'], |texts, text| {
                    // The name before once more, now and then.
                    if texts.below(4) != 0 {
                        name.clear();
                        texts.push_string(&mut name);
                    }
                    text.push_str(if name.is_empty() { r#""""# } else { &name });
                    text.push_str(texts.space());
                    text.push(':');
                    text.push_str(texts.space());
                    texts.push_value(text, depth - 1);
                });
            }
        }
    }

    fn push_items(&mut self, text: &mut String, around: [char; 2], mut push: impl FnMut(&mut Self, &mut String)) {
        text.push(around[0]);
        text.push_str(self.space());
        for i in 0..self.below(4) {
            if i > 0 {
                text.push(',');
                text.push_str(self.space());
            }
            push(self, text);
            text.push_str(self.space());
        }
        text.push(around[1]);
    }

    fn push_number(&mut self, text: &mut String) {
        if self.below(2) == 0 {
            text.push_str(self.one_of(&NUMBERS));
            return;
        }
        text.push_str(self.one_of(&["", "-"]));
        text.push_str(&self.below(usize::MAX).to_string());
        if self.below(2) == 0 {
            text.push('.');
            text.push_str(&self.below(1000).to_string());
            text.push_str(self.one_of(&["", "0", "0000"]));
        }
        if self.below(3) == 0 {
            text.push_str(self.one_of(&["e", "E", "e+", "E-"]));
            text.push_str(&self.below(10_000).to_string());
        }
    }

    fn push_string(&mut self, text: &mut String) {
        text.push('"');
        for _ in 0..self.below(6) {
            match self.below(3) {
                0 => {
                    let code = u32::try_from(self.below(0x11_0000)).expect("it is small");
                    let character = char::from_u32(code).filter(|c| !matches!(c, '\0'..='\x1f' | '"' | '\\'));
                    text.push(character.unwrap_or('x'));
                }
                _ => text.push_str(self.one_of(&PIECES)),
            }
        }
        text.push('"');
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    /// A number below a bound: `SplitMix64`, whose slight bias does no harm here.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % bound as u64).expect("below a usize")
    }
}

//! An address that mail can be sent to, and that can't be anything else: no option of a mail program, no file,
//! no command, no second header.

use std::fmt;
use std::str::FromStr;

/// An address, checked: `ops@example.com`, or the name of a user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(String);

impl MailAddress {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MailAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<MailAddress, String> {
        // Less than what mail allows: `|`, `/` and `-` at the start mean something else to some mail programs.
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '=' | '-'))
        };
        let is_domain = |part: &str| {
            part.split('.').all(|label| {
                label.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            })
        };
        let good = match text.split_once('@') {
            Some((name, domain)) => is_name(name) && is_domain(domain),
            None => is_name(text),
        };
        if !good || text.len() > 254 {
            return Err(format!("{text:?} is no address of mail such as ops@example.com"));
        }
        Ok(MailAddress(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_nothing_but_an_address() {
        for good in ["ops@example.com", "root", "a.b+c=d_e-f@mail.example.com", "x@localhost"] {
            assert_eq!(good.parse::<MailAddress>().unwrap().as_str(), good);
        }
        let long = format!("{}@example.com", "x".repeat(250));
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "-oQ/tmp@example.com",
            "a@-x",
            "|/bin/sh",
            "/etc/passwd",
            "a b@example.com",
            "a@example.com\nBcc: b@example.com",
            "a@example.com, b@example.com",
            "a@example..com",
            "ä@example.com",
            "<a@example.com>",
            long.as_str(),
        ] {
            assert!(bad.parse::<MailAddress>().is_err(), "{bad:?}");
        }
    }
}

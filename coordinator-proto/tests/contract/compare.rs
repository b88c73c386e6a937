//! What became of a contract.

use crate::model::{Contract, Enum, Message, Reserved};

/// How a contract differs from the one that was recorded, one line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// What somebody who knows the recorded one trips over.
    pub(crate) breaks: Vec<String>,
    /// What nobody has to know.
    pub(crate) additions: Vec<String>,
}

/// Holds `now` against `recorded`.
pub(crate) fn compare(recorded: &Contract, now: &Contract) -> Differences {
    let mut found = Differences::default();
    for (name, old) in &recorded.messages {
        match now.messages.get(name) {
            Some(new) => found.message(name, old, new),
            None => found.breaks.push(format!("message {name} vanished")),
        }
    }
    for (name, old) in &recorded.enums {
        match now.enums.get(name) {
            Some(new) => found.values(name, old, new),
            None => found.breaks.push(format!("enum {name} vanished")),
        }
    }
    for (service, old) in &recorded.services {
        let Some(new) = now.services.get(service) else {
            found.breaks.push(format!("service {service} vanished"));
            continue;
        };
        for (name, old) in old {
            match new.get(name) {
                Some(new) if new == old => {}
                Some(new) => found.breaks.push(format!(
                    "{service}: call {name} changed from `{old}` to `{new}`"
                )),
                None => found
                    .breaks
                    .push(format!("{service}: call {name} vanished")),
            }
        }
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            found.additions.push(format!("{service}: call {name}"));
        }
    }
    found.whole("message", &recorded.messages, &now.messages);
    found.whole("enum", &recorded.enums, &now.enums);
    found.whole("service", &recorded.services, &now.services);
    found
}

impl Differences {
    fn message(&mut self, message: &str, old: &Message, new: &Message) {
        self.reserved(message, &old.reserved, &new.reserved);
        for (number, was) in &old.fields {
            match new.fields.get(number) {
                Some(is) if is == was => {}
                Some(is) => self.breaks.push(format!(
                    "{message}: field {number} changed from `{was}` to `{is}`"
                )),
                None => self.gone(message, "field", *number, &was.name, &new.reserved),
            }
        }
        for (number, is) in &new.fields {
            if !old.fields.contains_key(number) {
                self.additions
                    .push(format!("{message}: field {number} `{is}`"));
            }
        }
    }

    fn values(&mut self, name: &str, old: &Enum, new: &Enum) {
        self.reserved(name, &old.reserved, &new.reserved);
        for (number, was) in &old.values {
            match new.values.get(number) {
                Some(is) if is == was => {}
                Some(is) => self.breaks.push(format!(
                    "{name}: value {number} changed from `{was}` to `{is}`"
                )),
                None => self.gone(name, "value", *number, was, &new.reserved),
            }
        }
        for (number, is) in &new.values {
            if !old.values.contains_key(number) {
                self.additions
                    .push(format!("{name}: value {number} `{is}`"));
            }
        }
    }

    /// A field or a value is not there any more.
    fn gone(&mut self, of: &str, what: &str, number: i32, name: &str, reserved: &Reserved) {
        if reserved.has(number) && reserved.names.contains(name) {
            self.additions
                .push(format!("{of}: {what} {number} `{name}` is reserved"));
        } else {
            self.breaks.push(format!(
                "{of}: {what} {number} `{name}` vanished; expected it, or both `reserved {number};` and `reserved \"{name}\";`"
            ));
        }
    }

    /// What was reserved stays so, whether something takes it or not: some message of it may still be about.
    fn reserved(&mut self, of: &str, old: &Reserved, new: &Reserved) {
        for range in &old.numbers {
            if let Some(number) = new.first_missing(range) {
                self.breaks
                    .push(format!("{of}: number {number} is no longer reserved"));
            }
        }
        for name in old.names.difference(&new.names) {
            self.breaks
                .push(format!("{of}: name `{name}` is no longer reserved"));
        }
    }

    fn whole<T>(
        &mut self,
        what: &str,
        old: &std::collections::BTreeMap<String, T>,
        new: &std::collections::BTreeMap<String, T>,
    ) {
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            self.additions.push(format!("{what} {name}"));
        }
    }
}

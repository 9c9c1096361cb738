//! The lines that the log of a day must have, and no others.

pub struct ExpectedLog(Vec<String>);

impl ExpectedLog {
    pub fn of_a_start() -> Self {
        let lines = [
            "INFO daemon: started, version ",
            "INFO vmware: VMware virtual machine detected ",
            "INFO graphite: counting ",
            "INFO disks: %util ",
            "INFO carbon: first values sent",
        ];
        Self(lines.map(String::from).into())
    }

    pub fn expect(&mut self, part: &str) {
        self.0.push(part.into());
    }

    /// Each line must have one of the expected parts, and each part must have its line.
    pub fn check(&mut self, log: &str) {
        for line in log.lines() {
            let position = self.0.iter().position(|part| line.contains(part.as_str()));
            let position = position.unwrap_or_else(|| panic!("unexpected: {line}\n{log}"));
            self.0.swap_remove(position);
        }
        assert!(self.0.is_empty(), "not logged: {:?}\n{log}", self.0);
    }
}

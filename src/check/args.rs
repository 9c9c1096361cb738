//! The command line of `check`: a subcommand for each collector.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};

use crate::collector::Collector;
use crate::collectors;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(subcommand)]
    pub(super) subject: Subject,
}

/// The collector whose file is checked, with the options of its subcommand.
#[derive(Debug)]
pub(super) struct Subject {
    pub collector: &'static dyn Collector,
    pub args: ArgMatches,
}

impl Subject {
    /// Returns the name of the service in the answer.
    pub fn service(&self) -> String {
        self.collector.name().to_uppercase()
    }
}

impl FromArgMatches for Subject {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let subcommand = matches.subcommand().and_then(|(name, args)| {
            let collector = collectors::ALL
                .into_iter()
                .find(|collector| collector.name() == name)?;
            let args = args.clone();
            Some(Self { collector, args })
        });
        subcommand.ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Subject {
    fn augment_subcommands(command: Command) -> Command {
        collectors::ALL
            .into_iter()
            .fold(command, |command, collector| {
                command.subcommand(collector.check_command())
            })
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        collectors::ALL.iter().any(|collector| collector.name() == name)
    }
}

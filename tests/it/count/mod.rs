mod command;
mod daemon;
mod incremental;
mod random_changes;
mod snapshot;
mod worker;

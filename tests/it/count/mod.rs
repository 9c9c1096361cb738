mod command;
mod incremental;
mod snapshot;
mod worker;

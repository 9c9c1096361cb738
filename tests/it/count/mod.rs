mod command;
mod daemon;
mod incremental;
mod snapshot;
mod worker;

mod command;
mod details;

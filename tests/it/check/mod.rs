mod answers;
mod command;

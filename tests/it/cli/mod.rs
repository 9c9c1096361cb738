mod generate;
mod once;
mod usage;

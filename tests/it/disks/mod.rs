mod backing;
mod cases;
mod changes;
mod malformed;
mod names;

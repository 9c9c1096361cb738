mod backing;
mod cases;
mod malformed;
mod names;

mod clocks;
mod faults;
mod foreground;
mod life;
mod limits;
mod lock;

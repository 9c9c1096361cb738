mod clocks;
mod faults;
mod feed;
mod foreground;
mod life;
mod limits;
mod lock;

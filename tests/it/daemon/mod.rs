mod clocks;
mod foreground;
mod life;
mod limits;
mod lock;
mod reload;

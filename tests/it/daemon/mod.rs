mod clocks;
mod exports;
mod feed;
mod foreground;
mod life;
mod limits;
mod lock;
mod reload;

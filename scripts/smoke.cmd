@echo off
rem Sends an item to a deployed app, and waits until its result is there and verified.
cd /d "%~dp0.."
cargo run --quiet --locked -p signet -- smoke %*

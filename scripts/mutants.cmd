@echo off
rem Changes the code of core and verification in small ways, and lists the changes that no test notices: target\mutants.out\missed.txt.
cd /d "%~dp0.."
cargo mutants --version >nul 2>&1 || cargo install --locked --quiet cargo-mutants --version 27.1.0 || exit /b
cargo mutants --package signet-core --package signet-verification --cargo-arg=--lib %*
if %errorlevel% lss 2 exit /b
if %errorlevel% geq 4 exit /b
cargo mutants --package signet-core --package signet-verification --iterate %*

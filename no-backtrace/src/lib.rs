//! Leaves out of a binary what would print backtraces and unwind stacks.
//!
//! The standard library's own report of a panic reads the program's debugging information, to print a backtrace if
//! `RUST_BACKTRACE` asks for one. A binary that is stripped, has no unwinding tables (`handler/no-unwinding.ld`) and ends at a
//! panic has nothing for it to read. All of that is reached through the unwinder's functions (Itanium C++ ABI: exception
//! handling, 1.2 to 1.5; <https://itanium-cxx-abi.github.io/cxx-abi/abi-eh.html>), which are replaced here by some that find
//! no frame; link-time optimisation takes the rest away. What a panic says, and where it happened, is printed as ever.
//!
//! For musl alone, since the static glibc calls its unwinder itself; and not for tests, whose panics unwind.

#![cfg_attr(not(all(target_env = "musl", panic = "abort")), no_std)]

/// One attribute for all of them: 210 KB of a binary of 3 MB, measured. None of these functions does anything that could be unsafe;
/// what must be vouched for is that nobody defines these names in vain, and a second definition is an error of the linker.
#[cfg(all(target_env = "musl", panic = "abort"))]
#[expect(unsafe_code, reason = "`no_mangle`, as said above")]
mod unwinder {
    use std::{
        ffi::{c_int, c_void},
        process,
        ptr::null,
    };

    /// `_URC_END_OF_STACK`: there is no frame.
    const END_OF_STACK: c_int = 5;

    /// Calls nobody.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
        END_OF_STACK
    }

    /// Where nothing is unwound, nothing goes on.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
        process::abort()
    }

    // What the personality function asks of a frame, which it is never called with.

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIPInfo(_context: *mut c_void, _is_before: *mut c_int) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIP(_context: *mut c_void) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetLanguageSpecificData(_context: *mut c_void) -> *const c_void {
        null()
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetRegionStart(_context: *mut c_void) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetTextRelBase(_context: *mut c_void) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetDataRelBase(_context: *mut c_void) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_SetGR(_context: *mut c_void, _register: c_int, _value: usize) {}

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_SetIP(_context: *mut c_void, _address: usize) {}
}

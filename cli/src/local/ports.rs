//! Ports for processes that are about to start.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::TcpSocket;

/// A port of the loopback interface for a process that is about to listen there. On Linux nobody else is given it while this lives:
/// it is bound, and not listened on, which keeps nobody away who asks for it by its number and has set `SO_REUSEADDR`, as
/// servers do. Elsewhere that would keep everybody away, and the port is as free as any.
#[derive(Debug)]
pub struct Reserved {
    port: u16,
    #[cfg(target_os = "linux")]
    _socket: TcpSocket,
}

impl Reserved {
    /// Reserves this port, or with 0 one that is free.
    ///
    /// # Errors
    /// Somebody listens there, or there is none.
    pub fn new(port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        #[cfg(target_os = "linux")]
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self {
            port: socket.local_addr()?.port(),
            #[cfg(target_os = "linux")]
            _socket: socket,
        })
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_was_told_of_it_may_listen_there() {
        let reserved = Reserved::new(0).unwrap();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, reserved.port())).unwrap();
        assert!(Reserved::new(reserved.port()).is_err(), "it is taken now");
        drop(server);
        #[cfg(target_os = "linux")]
        {
            let socket = TcpSocket::new_v4().unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reserved.port()));
            assert!(socket.bind(address).is_err(), "it is kept");
            drop(reserved);
            assert!(socket.bind(address).is_ok(), "it is free");
        }
    }
}

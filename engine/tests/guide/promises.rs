pub const PROMISES: [&str;0] = [];

//! The store on a real PostgreSQL server, which `TEST_POSTGRES_URL` names.

mod connecting;

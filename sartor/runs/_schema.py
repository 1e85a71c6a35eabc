"""The tables of a record and how a record file is known to be one."""

from __future__ import annotations

APPLICATION_ID = 0x53415254
"""``SART``, in the header of every record: tells a record from any other SQLite file."""

VERSION = 1
"""Raise it when the tables change; a record of a newer version is refused, an older one migrated."""

FILE_NAME = "record.sqlite"
LOCK_NAME = "record.lock"

# ``value`` columns have no declared type, so that an integer stays one: SQLite's REAL returns it as a float.
SCHEMA = """
create table runs(
    id text primary key, kind text not null, name text not null, config text not null, environment text not null,
    fingerprint text not null, state text not null, created real not null, updated real not null,
    elapsed_s real not null, seed integer not null, parent text, result text, position integer not null);
create table trials(
    run text not null, number integer not null, architecture text not null, amount, unit text not null,
    continues integer, replicate integer not null, seed integer not null, state text not null,
    attempts integer not null, failure text, cpu_s real, wall_s real, peak_rss_bytes integer,
    begins real not null, ends real not null, primary key(run, number)) without rowid;
create table figures(
    run text not null, number integer not null, role text not null, name text not null, value, error real,
    unit text not null, kind text not null, raw text not null, note text not null);
create unique index figures_by_trial on figures(run, number, role, name);
create index figures_by_value on figures(run, name, value);
create table points(
    run text not null, number integer not null, series text not null, chunk integer not null, count integer not null,
    low real, high real, last_step integer not null, last real, steps blob not null, vals blob not null,
    primary key(run, number, series, chunk)) without rowid;
create table files(
    run text not null, number integer, name text not null, path text not null, bytes integer not null,
    sha256 text not null);
create unique index files_by_name on files(run, ifnull(number, -1), name);
create table states(run text primary key, asked integer not null, state blob not null) without rowid;
create table costs(
    task text not null, architecture text not null, device text not null, figures text not null,
    primary key(task, architecture, device)) without rowid;
create table log(run text not null, time real not null, kind text not null, detail text not null);
create index log_by_run on log(run);
create table writer(pid integer not null, since real not null);
"""

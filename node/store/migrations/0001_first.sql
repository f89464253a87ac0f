-- The first schema. $text, $bytes, $time, $id and $compact are what each database calls them (connection.py).

create table accounts (
    localpart $text primary key,
    sha1 $bytes not null,
    sha256 $bytes not null,
    disabled integer not null,
    created_at $time not null,
    roster_version bigint not null default 0,
    -- what a roster looked like before this version is no longer known: its tombstones are gone
    roster_floor bigint not null default 0
);

create table roster_items (
    localpart $text not null,
    contact $text not null,
    name $text not null,
    groups $text not null,
    subscription $text not null,
    ask integer not null,
    approved integer not null,
    pending_in $bytes not null,
    listed integer not null,
    version bigint not null,
    primary key (localpart, contact)
)$compact;

-- who has a removed account as a contact
create index roster_items_by_contact on roster_items (contact);

create table offline (
    id $id,
    localpart $text not null,
    identity $bytes not null,
    stanza $bytes not null,
    stored_at $time not null,
    holder $text not null,
    deleted_at $time,
    -- number of the transaction that made the row free, in the order that waiting_offline can trust
    mark bigint not null,
    unique (localpart, identity)
);

create index offline_by_localpart on offline (localpart, id) where deleted_at is null;
create index offline_by_holder on offline (holder) where deleted_at is null and holder <> '';
create index offline_by_mark on offline (mark) where deleted_at is null and holder = '';
create index offline_by_deletion on offline (deleted_at) where deleted_at is not null;

create table vcards (
    localpart $text primary key,
    vcard $bytes not null
);

create table last_activity (
    localpart $text primary key,
    ended_at $time not null,
    status $text not null
);

create table nodes (
    name $text primary key,
    incarnation bigint not null,
    host $text not null,
    pid bigint not null,
    clustered integer not null,
    seen_at $time not null,
    beats bigint not null
);

create table incarnations (
    name $text primary key,
    incarnation bigint not null
);

create table settings (
    name $text primary key,
    setting $text not null
);

create table notices (
    id $id,
    kind $text not null,
    subject $text not null,
    created_at $time not null
);

-- SQLite has no transaction numbers of its own
create table marks (
    mark bigint not null
);

insert into marks (mark) values (1);

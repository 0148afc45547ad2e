// What Glibc's Swift overlay leaves out. Never define _GNU_SOURCE here: it breaks importing OpenSSL beside us.
#pragma once
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/socket.h>

// Hidden behind _GNU_SOURCE in <sys/socket.h>; declared here instead.
extern int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);

#!/bin/sh
# Writes .env for compose.yaml, once: the secrets in it are never made again.
set -eu
cd "$(dirname "$0")"
domain=${1:?usage: sh compose-env.sh DOMAIN}
if [ -e .env ]; then
  echo ".env is there already; nothing was changed" >&2
  exit 1
fi
umask 077
cat > .env <<END
DOMAIN=$domain
DATA_DIR=/opt/ocmt/data
JWT_SECRET=$(openssl rand -hex 32)
VAULT_KEY=k1:$(openssl rand -base64 32)
AUTH_TOKEN=$(openssl rand -hex 32)
ALLOWED_EMAILS=
END

"""What ``meterwatch gateway`` says, in each language, as data."""

from __future__ import annotations

from typing import Final

WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "made": "{}: a credential was made. It is shown this once and kept nowhere.",
        "renewed": "{}: a new credential was made. It is shown this once and kept nowhere.",
        "token": "  HTTPS   Authorization: Bearer {token}\n"
        "  MQTT    user      {user}\n"
        "          password  {token}",
        "grace": "The old one stays valid for {} days beside it.",
        "afterwards": "The broker knows no dates: after that run (or let cron run daily): {}",
        "key": "The key is in these files and nowhere else: take them to the gateway, then delete"
        " them here.",
        "revoked": "{}: all its credentials have ended.",
        "restart": "A connection that it has open by its certificate has lost every right once the"
        " broker has read its files, but stays open: restart the broker to end it before you give"
        " the gateway a new one.",
        "ca": "The authority is {}, until {}. Whoever has {} can be any gateway: keep a copy of it"
        " where nobody else gets it.",
        "no_broker": "meterwatch.toml has no table [broker]: no broker's files were written.",
        "note": "note: {}",
        "again": "{fault}\nThe credentials are as told above, the broker does not know it yet:"
        " mend this, then run: {again}",
        "reload": "The broker's files are written. Have it read them: systemctl reload mosquitto",
        # The list.
        "token_": "token",
        "certificate_": "certificate",
        "user": "user {}",
        "since": "since {}",
        "until": "until {}",
        "rotated": "last rotated {}",
        "in_force": "in force",
        "soon": "in force, EXPIRES SOON",
        "ended": "ran out {}",
        "was_revoked": "revoked {}",
        "none": "has no credential",
        "by_hand": "has a password at the broker that was written by hand",
        "gone": "NOT IN THE REGISTRY",
        "stale": "run out, and still in the broker's file: {} -> meterwatch gateway broker {}",
        "nobody": "there is no gateway",
    },
    "zh": {
        "made": "{}：凭证已生成。只显示这一次，不在任何地方保存。",
        "renewed": "{}：新凭证已生成。只显示这一次，不在任何地方保存。",
        "token": "  HTTPS   Authorization: Bearer {token}\n"
        "  MQTT    用户  {user}\n"
        "          密码  {token}",
        "grace": "旧凭证在 {} 天内仍然有效。",
        "afterwards": "消息服务器不认日期：到期后请运行（或由 cron 每天运行）：{}",
        "key": "密钥只在这些文件中：拷到网关后请在本机删除。",
        "revoked": "{}：全部凭证已吊销。",
        "restart": "它用证书建立的现有连接，在消息服务器重读文件后已无任何权限，但不会断开："
        "发新凭证之前请重启消息服务器。",
        "ca": "证书机构为 {}，有效期至 {}。持有 {} 者可冒充任何网关：请妥善备份，勿交他人。",
        "no_broker": "meterwatch.toml 中没有 [broker]：未写任何消息服务器文件。",
        "note": "注意：{}",
        "again": "{fault}\n凭证已如上变更，但消息服务器尚不知道：处理后请运行：{again}",
        "reload": "消息服务器的文件已写好。请让它重读：systemctl reload mosquitto",
        "token_": "令牌",
        "certificate_": "证书",
        "user": "用户 {}",
        "since": "自 {}",
        "until": "至 {}",
        "rotated": "上次更换 {}",
        "in_force": "有效",
        "soon": "有效，即将到期",
        "ended": "已于 {} 到期",
        "was_revoked": "已于 {} 吊销",
        "none": "没有凭证",
        "by_hand": "消息服务器中有人工写入的密码",
        "gone": "台账中没有",
        "stale": "已到期但仍在消息服务器的文件中：{} -> meterwatch gateway broker {}",
        "nobody": "没有网关",
    },
}

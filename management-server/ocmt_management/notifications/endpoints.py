"""`/api/notifications`: whether this session's device is notified."""

from fastapi import APIRouter

from ocmt_management.auth.dependencies import CurrentUser, PresentUser
from ocmt_management.notifications.dependencies import Notifications
from ocmt_management.notifications.schemas import Attention, NotificationsView, Subscription

router = APIRouter(prefix="/api/notifications")


@router.get("")
async def show(user: PresentUser, notifications: Notifications) -> NotificationsView:
    return await notifications.view(user.user_id, user.session_id)


@router.put("/subscription", status_code=204)
async def subscribe(body: Subscription, user: CurrentUser, notifications: Notifications) -> None:
    await notifications.subscribe(user.user_id, user.session_id, body)


@router.delete("/subscription", status_code=204)
async def unsubscribe(user: CurrentUser, notifications: Notifications) -> None:
    await notifications.unsubscribe(user.user_id, user.session_id)


@router.put("/attention", status_code=204)
async def attend(body: Attention, user: PresentUser, notifications: Notifications) -> None:
    """An open page says on its own whether it is visible."""
    notifications.attend(user.user_id, user.session_id, visible=body.visible)

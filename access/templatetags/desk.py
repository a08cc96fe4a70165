from django import template

from access import desk

register = template.Library()

register.filter("moment", desk.moment)
register.filter("since", desk.since)
register.filter("length", desk.length)
register.filter("number", desk.number)
register.filter("address", desk.address)
register.filter("topic", desk.topic)
register.simple_tag(desk.state, name="state")
